# Sourced behind support_cli.sh: a server of the program, and requests to it without a client.
server=
# start OPTIONS...: a server on a free port, which $port then is.
start() {
  : >out.json
  "$halfstep" serve "$@" --port 0 --json --threads 1 >out.json 2>serve.txt &
  server=$!
  for ((i = 0; i < 300; i++)); do
    port=$(grep -oE '"port": [0-9]+' out.json | grep -oE '[0-9]+')
    [ -z "$port" ] || return 0
    kill -0 $server 2>/dev/null || break
    sleep 0.1
  done
  fail "no server: $(tail -1 serve.txt)"
}
# ask METHOD PATH [BODY [HEADER]]: status and body of an answer, in `status` and `answer`.
ask() {
  local line length=0
  exec 3<>"/dev/tcp/127.0.0.1/$port" || return 1
  printf '%s %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n%s%s\r\n%s' "$1" "$2" "${4:+$4$'\r\n'}" "${3:+Content-Length: ${#3}$'\r\n'}" "$3" >&3
  read -r line <&3
  status=${line#* }
  status=${status%% *}
  while read -r line <&3; do
    line=${line%$'\r'}
    case ${line,,} in content-length:*) length=${line#*: } ;; esac
    [ -n "$line" ] || break
  done
  answer=$(head -c "$length" <&3)
  exec 3<&-
}
# says METHOD PATH BODY STATUS REGEX
says() {
  ask "$1" "$2" "$3"
  [ "$status" = "$4" ] && [[ $answer =~ $5 ]] || fail "$1 $2: $status, not $4: ${answer:0:200}"
}
# stop CODE: SIGTERM, and how it ends
stop() {
  kill -TERM $server
  wait $server
  local got=$?
  [ $got -eq "$1" ] || fail "a server that is told to stop ends with $got: $(tail -1 serve.txt)"
}
