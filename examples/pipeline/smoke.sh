#!/bin/sh
# Does what is live greet?
set -e
said="$(python3 "$HOME/.cache/greeting/live/greeting.pyz" "$INPUT_NAME" en)"
echo "$said"
[ "$said" = "Hello, $INPUT_NAME!" ]
