# An echo server that delays, drops, repeats and damages by rules; see tests/functional/exact.py.
check_PROGRAMS += tests/responder/responder
tests_responder_responder_SOURCES = tests/responder/responder.c
# Not what the unit tests link.
tests_responder_responder_LDADD   =
