/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TESTS_WIDE_H
#define ECHOD_TESTS_WIDE_H

/* On 32-bit processors, with 64-bit files and times, glibc gives these calls other names in the
 * objects. A linker's --wrap needs those names. */

#include <features.h>

#if defined __GLIBC__ && defined __TIMESIZE && __TIMESIZE == 32 && _TIME_BITS == 64
#define __wrap_clock_gettime   __wrap___clock_gettime64
#define __real_clock_gettime   __real___clock_gettime64
#define __wrap_fcntl           __wrap___fcntl_time64
#define __real_fcntl           __real___fcntl_time64
#define __wrap_fstatat         __wrap___fstatat64_time64
#define __real_fstatat         __real___fstatat64_time64
#define __wrap_getsockopt      __wrap___getsockopt64
#define __real_getsockopt      __real___getsockopt64
#define __wrap_ioctl           __wrap___ioctl_time64
#define __real_ioctl           __real___ioctl_time64
#define __wrap_mmap            __wrap_mmap64
#define __real_mmap            __real_mmap64
#define __wrap_prctl           __wrap___prctl_time64
#define __real_prctl           __real___prctl_time64
#define __wrap_recvmmsg        __wrap___recvmmsg64
#define __real_recvmmsg        __real___recvmmsg64
#define __wrap_recvmsg         __wrap___recvmsg64
#define __real_recvmsg         __real___recvmsg64
#define __wrap_sendmmsg        __wrap___sendmmsg64
#define __real_sendmmsg        __real___sendmmsg64
#define __wrap_setsockopt      __wrap___setsockopt64
#define __real_setsockopt      __real___setsockopt64
#define __wrap_timerfd_settime __wrap___timerfd_settime64
#define __real_timerfd_settime __real___timerfd_settime64
#endif

#endif
