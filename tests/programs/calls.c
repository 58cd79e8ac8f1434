// Makes system calls of known numbers, lengths and errors. A first line on
// standard input lets it begin; it says how long its slow calls took.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

enum { PAIRS = 20000, MISSING = 700, BAD = 300, NAPS = 40, NAP_MS = 9 };

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

__attribute__((noinline)) static void transfer(void)
{
	int ends[2];
	char byte = 'x';
	check(pipe(ends) == 0, "pipe");
	for (int i = 0; i < PAIRS; i++) {
		check(write(ends[1], &byte, 1) == 1, "write");
		check(read(ends[0], &byte, 1) == 1, "read");
	}
	close(ends[0]);
	close(ends[1]);
}

__attribute__((noinline)) static void fail(void)
{
	char byte;
	for (int i = 0; i < MISSING; i++) {
		check(open("/nonexistent/file", O_RDONLY) < 0 && errno == ENOENT, "open");
	}
	for (int i = 0; i < BAD; i++) {
		check(close(-1) < 0 && errno == EBADF, "close");
	}
	int ends[2];
	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0, "socketpair");
	for (int i = 0; i < BAD; i++) {
		check(recv(ends[0], &byte, 1, 0) < 0 && errno == EAGAIN, "recv");
	}
	close(ends[0]);
	close(ends[1]);
}

// Tells the shortest, the one in the middle and the longest.
__attribute__((noinline)) static void nap(const char *who)
{
	int64_t took[NAPS], sum = 0;
	for (int i = 0; i < NAPS; i++) {
		struct timespec t = {0, NAP_MS * 1000000l};
		int64_t begin = now();
		nanosleep(&t, NULL);
		took[i] = now() - begin;
		sum += took[i];
	}
	qsort(took, NAPS, sizeof *took, by_size);
	char line[100];
	int length = snprintf(line, sizeof line, "%s %lld %lld %lld %lld\n", who, (long long)took[0],
			      (long long)took[NAPS / 2], (long long)took[NAPS - 1], (long long)sum);
	check(write(STDOUT_FILENO, line, length) == length, "write");
}

static void *thread(void *name)
{
	pthread_setname_np(pthread_self(), name);
	transfer();
	fail();
	return NULL;
}

// The thread that the process began with has made all of its calls but the last.
static atomic_bool waits;

// While the thread that the process began with waits: it is gone then, in the
// middle of its call, and this one has its id. Without a call until then: how
// many of them it takes would be chance.
static void *execute(void *program)
{
	while (!waits) {
	}
	execl(program, program, "child", NULL);
	_exit(1);
}

int main(int count, char **arguments)
{
	char byte;
	if (count > 1) {
		// Run by the child below.
		fail();
		return 0;
	}
	check(read(STDIN_FILENO, &byte, 1) == 1, "read");
	for (int i = 0; i < 2; i++) {
		static char *names[] = {"first", "second"};
		pthread_t other;
		check(pthread_create(&other, NULL, thread, names[i]) == 0, "pthread_create");
		pthread_join(other, NULL);
	}
	nap("main");
	pid_t child = fork();
	check(child >= 0, "fork");
	if (child == 0) {
		pthread_t other;
		check(pthread_create(&other, NULL, execute, arguments[0]) == 0, "pthread_create");
		waits = true;
		pause();
	}
	int status;
	check(waitpid(child, &status, 0) == child && status == 0, "the child");
	return 0;
}
