# Written by `make generate` from openapi/zulip-auth.yaml; never edited by hand.

"""Contains methods for accessing the API"""
