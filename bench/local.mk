EXTRA_DIST += bench/timestamps.sh
