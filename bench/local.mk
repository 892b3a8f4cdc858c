EXTRA_DIST += bench/bare.c bench/generators.sh bench/overhead.sh bench/timestamps.sh
