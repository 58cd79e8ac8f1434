// Threads that each wait in one known way, WAIT_MS at a time, and burn CPU time
// in between.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

enum { WAIT_MS = 70, BURN_MS = 3 };

static void pause_ms(int milliseconds)
{
	struct timespec t = {milliseconds / 1000, milliseconds % 1000 * 1000000l};
	while (nanosleep(&t, &t) && errno == EINTR) {
	}
}

__attribute__((noinline)) static void burn(int milliseconds)
{
	int64_t end = clock_ns(CLOCK_THREAD_CPUTIME_ID) + milliseconds * 1000000ll;
	while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end) {
	}
}

// The other side of each wait: sleeps, then lets the waiting thread go on.
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t lock_taken, lock_round;

__attribute__((noinline)) static void hold_the_lock(void)
{
	pthread_mutex_lock(&mutex);
	pthread_barrier_wait(&lock_taken);
	pause_ms(WAIT_MS);
	pthread_mutex_unlock(&mutex);
	pthread_barrier_wait(&lock_round);
}

static void *holder(void *unused)
{
	pthread_setname_np(pthread_self(), "holder");
	for (;;) hold_the_lock();
	return unused;
}

__attribute__((noinline)) static void want_the_lock(void)
{
	pthread_barrier_wait(&lock_taken);
	pthread_mutex_lock(&mutex);
	pthread_mutex_unlock(&mutex);
	burn(BURN_MS);
	pthread_barrier_wait(&lock_round);
}

static void *locks(void *unused)
{
	for (;;) want_the_lock();
	return unused;
}

__attribute__((noinline)) static void sleep_a_while(void)
{
	pause_ms(WAIT_MS);
	burn(BURN_MS);
}

static void *sleeps(void *unused)
{
	for (;;) sleep_a_while();
	return unused;
}

// Writes a byte every WAIT_MS.
static void *writer(void *descriptor)
{
	int to = (int)(intptr_t)descriptor;
	for (;;) {
		pause_ms(WAIT_MS);
		if (write(to, "x", 1) != 1) return NULL;
	}
}

static int ends[2];

__attribute__((noinline)) static void read_the_pipe(void)
{
	char byte;
	check(read(ends[0], &byte, 1) == 1, "read");
	burn(BURN_MS);
}

static void *pipes(void *unused)
{
	for (;;) read_the_pipe();
	return unused;
}

static int connected(int *other)
{
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof address;
	check(!bind(listener, (void *)&address, length), "bind");
	check(!listen(listener, 1), "listen");
	check(!getsockname(listener, (void *)&address, &length), "getsockname");
	int one = socket(AF_INET, SOCK_STREAM, 0);
	check(!connect(one, (void *)&address, length), "connect");
	*other = accept(listener, NULL, NULL);
	check(*other >= 0, "accept");
	close(listener);
	return one;
}

__attribute__((noinline)) static void receive(int from)
{
	char byte;
	check(recv(from, &byte, 1, 0) == 1, "recv");
	burn(BURN_MS);
}

static void *network(void *descriptor)
{
	for (;;) receive((int)(intptr_t)descriptor);
	return NULL;
}

// As a client library waits for its server: poll on the one connection.
__attribute__((noinline)) static void poll_the_peer(int from)
{
	struct pollfd one = {.fd = from, .events = POLLIN};
	char byte;
	check(poll(&one, 1, -1) == 1, "poll");
	check(recv(from, &byte, 1, 0) == 1, "recv");
	burn(BURN_MS);
}

static void *client(void *descriptor)
{
	for (;;) poll_the_peer((int)(intptr_t)descriptor);
	return NULL;
}

__attribute__((noinline)) static void park(int loop)
{
	struct epoll_event event;
	epoll_wait(loop, &event, 1, WAIT_MS);
	burn(BURN_MS);
}

static void *idles(void *unused)
{
	int loop = epoll_create1(0);
	for (;;) park(loop);
	return unused;
}

__attribute__((noinline)) static void wait_for_a_child(void)
{
	pid_t child = fork();
	if (child == 0) {
		pause_ms(WAIT_MS);
		_exit(0);
	}
	check(waitpid(child, NULL, 0) == child, "waitpid");
	burn(BURN_MS);
}

static void *children(void *unused)
{
	for (;;) wait_for_a_child();
	return unused;
}

// Past the page cache, so that every read is one of the disk. Of a size that takes
// a millisecond: the kernel charges a thread from the moment at which it was woken
// by an interrupt (kernel/sched/core.c, wakeup_preempt, skips the next update of
// the clock), not from that at which it runs, which adds up when it is woken often.
static char *block;
enum { BLOCK = 1 << 16, BLOCKS = 64, LARGE = 1 << 20 };

__attribute__((noinline)) static void read_the_disk(int file, int number)
{
	off_t at = (off_t)LARGE * (number % (BLOCK * BLOCKS / LARGE));
	check(pread(file, block, LARGE, at) == LARGE, "pread");
}

static void *reads(void *descriptor)
{
	for (int number = 0;; number++) read_the_disk((int)(intptr_t)descriptor, number);
	return NULL;
}

static char synced[LARGE];

__attribute__((noinline)) static void sync_the_disk(int file)
{
	check(pwrite(file, synced, LARGE, 0) == LARGE, "pwrite");
	check(!fsync(file), "fsync");
}

static void *syncs(void *descriptor)
{
	for (;;) sync_the_disk((int)(intptr_t)descriptor);
	return NULL;
}

// Memory that is a file's, of which nothing is in the page cache.
__attribute__((noinline)) static void touch_the_file(int file, volatile char *memory)
{
	check(!posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED), "posix_fadvise");
	for (int number = 0; number < BLOCKS; number++) (void)memory[(size_t)BLOCK * number];
	check(!madvise((void *)memory, (size_t)BLOCK * BLOCKS, MADV_DONTNEED), "madvise");
}

static void *faults(void *descriptor)
{
	int file = (int)(intptr_t)descriptor;
	char *memory = mmap(NULL, (size_t)BLOCK * BLOCKS, PROT_READ, MAP_SHARED, file, 0);
	check(memory != MAP_FAILED, "mmap");
	check(!madvise(memory, (size_t)BLOCK * BLOCKS, MADV_RANDOM), "madvise");
	for (;;) touch_the_file(file, memory);
	return NULL;
}

static void *spins(void *unused)
{
	for (;;) burn(1000);
	return unused;
}

static void start(const char *name, void *(*run)(void *), intptr_t argument)
{
	pthread_t thread;
	check(!pthread_create(&thread, NULL, run, (void *)argument), "pthread_create");
	pthread_setname_np(thread, name);
}

// Two files of a directory on a disk, for the threads that use it.
static void use_the_disk(const char *directory)
{
	char path[4096];
	check(!posix_memalign((void **)&block, 4096, LARGE), "posix_memalign");
	memset(block, 'x', LARGE);
	snprintf(path, sizeof path, "%s/read", directory);
	int file = open(path, O_RDWR | O_CREAT | O_DIRECT, 0600);
	check(file >= 0, "open");
	for (int number = 0; number < BLOCKS; number++)
		check(pwrite(file, block, BLOCK, (off_t)BLOCK * number) == BLOCK, "pwrite");
	start("reads", reads, file);
	start("faults", faults, file);
	snprintf(path, sizeof path, "%s/sync", directory);
	file = open(path, O_RDWR | O_CREAT, 0600);
	check(file >= 0, "open");
	start("syncs", syncs, file);
}

// waits [DIRECTORY], or waits spin N: threads that only run.
int main(int count, char **arguments)
{
	int server, peer;
	if (count > 2 && !strcmp(arguments[1], "spin")) {
		for (int left = atoi(arguments[2]); left > 0; left--) start("spins", spins, 0);
		for (;;) pause();
	}
	if (count > 1) use_the_disk(arguments[1]);
	pthread_barrier_init(&lock_taken, NULL, 2);
	pthread_barrier_init(&lock_round, NULL, 2);
	start("holder", holder, 0);
	start("locks", locks, 0);
	start("sleeps", sleeps, 0);
	check(!pipe(ends), "pipe");
	start("pipes", pipes, 0);
	start("writer", writer, ends[1]);
	int from = connected(&server);
	start("network", network, from);
	start("writer", writer, server);
	from = connected(&peer);
	start("client", client, from);
	start("writer", writer, peer);
	start("idles", idles, 0);
	start("children", children, 0);
	for (;;) pause();
}
