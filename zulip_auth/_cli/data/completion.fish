complete -c zulip-auth -f
complete -c zulip-auth -n __fish_use_subcommand -a '@COMMANDS@'
complete -c zulip-auth -n '__fish_prev_arg_in @PATHS@' -F
@CASES@
