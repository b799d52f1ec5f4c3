# Written by `make generate` from openapi/zulip-auth.yaml; never edited by hand.

"""Contains endpoint functions for accessing the API"""
