# Guards a broker: starts it whenever a line comes in, says its process number, and ends it when whoever writes the
# lines is gone, however that happened; then removes its folder, the first argument. The others are the command.
folder=$1
shift
while read -r _; do
    "$@" </dev/null >>"$folder/log" 2>&1 &
    echo $!
done
kill -KILL $! 2>/dev/null
wait
rm -rf "$folder"
