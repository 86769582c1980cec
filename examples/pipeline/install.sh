#!/bin/sh
# Install this version beside the others, and switch to it in one step.
set -e
home="$HOME/.cache/greeting"
mkdir -p "$home/versions/$TIGHTROPE_VERSION"
cp dist/greeting.pyz "$home/versions/$TIGHTROPE_VERSION/"
[ ! -L "$home/live" ] || cp -P "$home/live" "$home/before"
ln -sfn "versions/$TIGHTROPE_VERSION" "$home/live.new"
mv -T "$home/live.new" "$home/live"
echo "installed $TIGHTROPE_VERSION"
