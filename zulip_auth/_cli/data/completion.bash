_zulip_auth() {
  local list='@COMMANDS@'
  COMPREPLY=()
  case ${COMP_WORDS[COMP_CWORD-1]} in
    @PATHS@) compopt -o default 2>/dev/null; return ;;
  esac
  (( COMP_CWORD > 1 )) && case ${COMP_WORDS[1]} in
@CASES@
  esac
  COMPREPLY=($(compgen -W "$list" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _zulip_auth zulip-auth
