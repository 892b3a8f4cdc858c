EXTRA_DIST += bench/bare.c bench/dribblers.py bench/generators.sh bench/overhead.sh bench/timestamps.sh
