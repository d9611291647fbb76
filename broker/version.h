/* version.h - what the broker calls itself: to operators, and to clients that ask for Redis's version. */
#ifndef BROKER_VERSION_H
#define BROKER_VERSION_H

#define BECKD_VERSION       "0.1.0"
#define BECKD_REDIS_VERSION "8.8.0" /* whose commands and replies these are */

#endif
