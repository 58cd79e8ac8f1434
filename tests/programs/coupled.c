// A client that is always busy on one CPU, and a server on another that has little
// to do for each message: coupled CLIENT_CPU SERVER_CPU.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

enum { CLIENT_US = 8, SERVER_US = 6 };

static int ends[2];

static void stay_on(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	check(!sched_setaffinity(0, sizeof set, &set), "sched_setaffinity");
}

__attribute__((noinline)) static void burn(int microseconds)
{
	int64_t end = clock_ns(CLOCK_MONOTONIC) + microseconds * 1000;
	while (clock_ns(CLOCK_MONOTONIC) < end) {
	}
}

static void *server(void *cpu)
{
	char byte;
	pthread_setname_np(pthread_self(), "server");
	stay_on((int)(intptr_t)cpu);
	for (;;) {
		check(read(ends[1], &byte, 1) == 1, "read");
		burn(SERVER_US);
	}
	return NULL;
}

int main(int count, char **arguments)
{
	pthread_t thread;
	check(count == 3, "coupled CLIENT_CPU SERVER_CPU");
	check(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
	int cpu = atoi(arguments[2]);
	check(!pthread_create(&thread, NULL, server, (void *)(intptr_t)cpu), "pthread_create");
	pthread_setname_np(pthread_self(), "client");
	stay_on(atoi(arguments[1]));
	for (;;) {
		burn(CLIENT_US);
		check(write(ends[0], "x", 1) == 1, "write");
	}
}
