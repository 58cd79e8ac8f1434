// As many context switches and system calls as there can be, after a first line
// on standard input: two threads on one CPU that hand a byte to each other, and
// one on another CPU that calls getppid(2). Each tells what it did, and how often
// it waited by getrusage(2).
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

static int there[2], back[2];
static int64_t end;

static void begin(const char *name, int cpu)
{
	cpu_set_t cpus;
	pthread_setname_np(pthread_self(), name);
	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	check(sched_setaffinity(0, sizeof cpus, &cpus) == 0, "sched_setaffinity");
}

static void tell(const char *name, long calls, int64_t longest)
{
	struct rusage usage;
	getrusage(RUSAGE_THREAD, &usage);
	printf("%s %ld %ld %lld\n", name, calls, usage.ru_nvcsw, (long long)longest);
}

// The byte says whether it goes on.
static void *ping(void *nothing)
{
	long rounds = 0;
	int64_t longest = 0, last = now();
	char go = 1;
	begin("ping", 0);
	while (go) {
		int64_t time = now();
		longest = time - last > longest ? time - last : longest;
		last = time;
		go = time < end;
		check(write(there[1], &go, 1) == 1, "write");
		check(read(back[0], &go, 1) == 1, "read");
		rounds++;
	}
	tell("ping", rounds, longest);
	return nothing;
}

static void *pong(void *nothing)
{
	long rounds = 0;
	char go = 1;
	begin("pong", 0);
	while (go) {
		check(read(there[0], &go, 1) == 1, "read");
		check(write(back[1], &go, 1) == 1, "write");
		rounds++;
	}
	tell("pong", rounds, 0);
	return nothing;
}

static void *spin(void *nothing)
{
	long calls = 0;
	begin("spin", sysconf(_SC_NPROCESSORS_ONLN) - 1);
	while (now() < end) {
		for (int i = 0; i < 100; i++, calls++) {
			syscall(SYS_getppid);
		}
	}
	tell("spin", calls, 0);
	return nothing;
}

int main(int count, char **arguments)
{
	char byte;
	pthread_t threads[3];
	void *(*work[3])(void *) = {ping, pong, spin};
	check(count == 2, "usage: storm SECONDS");
	check(pipe(there) == 0 && pipe(back) == 0, "pipe");
	check(read(STDIN_FILENO, &byte, 1) == 1, "read");
	end = now() + atoi(arguments[1]) * 1000000000ll;
	for (int i = 0; i < 3; i++) {
		check(pthread_create(&threads[i], NULL, work[i], NULL) == 0, "pthread_create");
	}
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
	}
	fflush(stdout);
	return 0;
}
