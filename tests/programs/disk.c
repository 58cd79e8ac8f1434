// Reads and writes known amounts of a disk, each in a function of its own, and
// says afterwards what it did and how long the calls took:
//   disk direct|cached|dirty FILE CALLS
// prepares the file, waits for a line on its standard input, works, prints its
// report, and waits for another line. "dirty" leaves the writing to the kernel.
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

enum { LARGE = 512 << 10, SMALL = 64 << 10 };

static char *buffer;

static int compare(const void *a, const void *b)
{
	int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
	return (left > right) - (left < right);
}

// Times of calls: their number, sum, median and longest.
static void report(const char *what, int64_t *times, int count, int64_t bytes)
{
	int64_t sum = 0;
	for (int i = 0; i < count; i++)
		sum += times[i];
	qsort(times, count, sizeof *times, compare);
	printf("%s %d %lld %lld %lld %lld\n", what, count, (long long)bytes, (long long)sum,
	       (long long)times[count / 2], (long long)times[count - 1]);
}

__attribute__((noinline)) void write_directly(int file, int64_t *times, int count)
{
	for (int i = 0; i < count; i++) {
		int64_t start = now();
		check(pwrite(file, buffer, LARGE, (off_t)i * LARGE) == LARGE, "pwrite");
		times[i] = now() - start;
	}
}

__attribute__((noinline)) void read_directly(int file, int64_t *times, int count)
{
	for (int i = 0; i < count; i++) {
		int64_t start = now();
		check(pread(file, buffer, LARGE, (off_t)i * LARGE) == LARGE, "pread");
		times[i] = now() - start;
	}
}

__attribute__((noinline)) void write_to_cache(int file, int64_t *times, int count)
{
	for (int i = 0; i < count; i++) {
		int64_t start = now();
		check(pwrite(file, buffer, SMALL, (off_t)i * SMALL) == SMALL, "write");
		times[i] = now() - start;
	}
}

__attribute__((noinline)) void write_and_sync(int file, int64_t *times, int count)
{
	int64_t start = now();
	write_to_cache(file, times, count);
	check(fsync(file) == 0, "fsync");
	times[0] = now() - start;
}

__attribute__((noinline)) static void read_all(int file, int count)
{
	for (int i = 0; i < count; i++)
		check(pread(file, buffer, SMALL, (off_t)i * SMALL) == SMALL, "read");
}

__attribute__((noinline)) void read_cold(int file, int64_t *times, int count)
{
	int64_t start = now();
	read_all(file, count);
	times[0] = now() - start;
}

// What is in the cache already.
__attribute__((noinline)) void read_warm(int file, int64_t *times, int count)
{
	int64_t start = now();
	read_all(file, count);
	times[0] = now() - start;
}

// Busy now and then, so that a profiler gets to know the process.
static void wait_for_a_line(void)
{
	char line[16];
	struct pollfd input = {.fd = 0, .events = POLLIN};
	while (poll(&input, 1, 20) == 0) {
		int64_t end = now() + 5000000;
		while (now() < end) {
		}
	}
	check(fgets(line, sizeof line, stdin) != NULL, "stdin");
}

int main(int argc, char **argv)
{
	int count = argc > 3 ? atoi(argv[3]) : 0;
	check(count > 0, "usage: disk direct|cached|dirty FILE CALLS");
	int direct = strcmp(argv[1], "direct") == 0, dirty = strcmp(argv[1], "dirty") == 0;
	int64_t *times = calloc(count, sizeof *times);
	check(times && posix_memalign((void **)&buffer, 4096, LARGE) == 0, "memory");
	memset(buffer, 'x', LARGE);
	int file = open(argv[2], O_RDWR | O_CREAT | (direct ? O_DIRECT : 0), 0600);
	check(file >= 0, "open");
	// Blocks that are there are written without those that describe them.
	if (direct)
		write_directly(file, times, count);
	else
		write_to_cache(file, times, count);
	check(fsync(file) == 0, "fsync");
	check(direct || posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0, "fadvise");
	puts("ready");
	fflush(stdout);
	wait_for_a_line();

	if (direct) {
		write_directly(file, times, count);
		report("write_directly", times, count, (int64_t)count * LARGE);
		read_directly(file, times, count);
		report("read_directly", times, count, (int64_t)count * LARGE);
	} else if (dirty) {
		write_to_cache(file, times, count);
		report("write_to_cache", times, count, (int64_t)count * SMALL);
	} else {
		write_and_sync(file, times, count);
		report("write_and_sync", times, 1, (int64_t)count * SMALL);
		check(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0, "fadvise");
		read_cold(file, times, count);
		report("read_cold", times, 1, (int64_t)count * SMALL);
		read_warm(file, times, count);
		report("read_warm", times, 1, (int64_t)count * SMALL);
	}
	puts("done");
	fflush(stdout);
	wait_for_a_line();
	return 0;
}
