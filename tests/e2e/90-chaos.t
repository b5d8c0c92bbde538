#!/bin/sh
# Everything goes wrong at once, for less than a minute.
JOBS=${JOBS:-200} exec "$(dirname "$0")/../chaos"
