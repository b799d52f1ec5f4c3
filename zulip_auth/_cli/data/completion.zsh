#compdef zulip-auth
_zulip_auth() {
  local -a list=(@COMMANDS@)
  case $words[CURRENT-1] in
    @PATHS@) _files; return ;;
  esac
  (( CURRENT > 2 )) && case $words[2] in
@CASES@
  esac
  _describe zulip-auth list
}
# Complete if autoloaded from $fpath; register if sourced.
if [ "$funcstack[1]" = _zulip_auth ]; then _zulip_auth; else compdef _zulip_auth zulip-auth; fi
