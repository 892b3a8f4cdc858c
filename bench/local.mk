EXTRA_DIST += bench/bare.c bench/generators.sh bench/timestamps.sh
