if TESTS_ENABLED
dist_check_SCRIPTS += tests/include-rules.sh
TESTS += tests/include-rules.sh
endif
EXTRA_DIST += tests/tap.sh tests/cmocka-tap.sh tests/smoke tests/platforms
