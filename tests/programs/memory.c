// Touches memory in known ways, after a first line on standard input; says how
// many page faults getrusage(2) counted meanwhile. With "eat", takes memory until
// it is killed.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common.h"

enum { PAGE = 4096, NEW_PAGES = 20000, FILE_PAGES = 1500 };

__attribute__((noinline)) static void touch_new(int pages)
{
	char *memory = mmap(NULL, (size_t)pages * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(memory != MAP_FAILED, "mmap");
	check(madvise(memory, (size_t)pages * PAGE, MADV_NOHUGEPAGE) == 0, "madvise");
	for (int i = 0; i < pages; i++) {
		*(volatile char *)(memory + (size_t)i * PAGE) = 1;
	}
	munmap(memory, (size_t)pages * PAGE);
}

static char *cold_file(const char *path)
{
	static char page[PAGE];
	int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	check(file >= 0, path);
	for (int i = 0; i < FILE_PAGES; i++) {
		check(write(file, page, PAGE) == PAGE, "write");
	}
	check(fsync(file) == 0, "fsync");
	check(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0, "posix_fadvise");
	char *memory = mmap(NULL, (size_t)FILE_PAGES * PAGE, PROT_READ, MAP_SHARED, file, 0);
	check(memory != MAP_FAILED, "mmap");
	// Nothing but the page that is asked for.
	check(madvise(memory, (size_t)FILE_PAGES * PAGE, MADV_RANDOM) == 0, "madvise");
	return memory;
}

__attribute__((noinline)) static void touch_file(const char *memory)
{
	for (int i = 0; i < FILE_PAGES; i++) {
		(void)*(volatile const char *)(memory + (size_t)i * PAGE);
	}
}

__attribute__((noinline)) static void eat(void)
{
	for (;;) {
		char *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		check(memory != MAP_FAILED, "mmap");
		memset(memory, 1, 1 << 20);
		usleep(2000);
	}
}

int main(int count, char **arguments)
{
	char byte;
	struct rusage before, after;
	check(count == 2, "usage: memory FILE|eat");
	int eats = strcmp(arguments[1], "eat") == 0;
	char *file = eats ? NULL : cold_file(arguments[1]);
	getrusage(RUSAGE_SELF, &before);
	check(read(STDIN_FILENO, &byte, 1) == 1, "read");
	if (eats) {
		eat();
	}
	// It has slept until now: its first stack makes it known.
	touch_new(NEW_PAGES / 100);
	usleep(500000);
	touch_new(NEW_PAGES);
	touch_file(file);
	getrusage(RUSAGE_SELF, &after);
	printf("%ld %ld\n", after.ru_minflt - before.ru_minflt, after.ru_majflt - before.ru_majflt);
	fflush(stdout);
	// Lets the recording end while it is there.
	check(read(STDIN_FILENO, &byte, 1) == 1, "read");
	return 0;
}
