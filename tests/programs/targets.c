// Makes system calls about known files and peers. Its first argument is a
// directory of its own; a first line on standard input lets it begin. With a
// number as its second argument it asks for that many files that are not there,
// each by another name, and does nothing else.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

enum { MISSING = 700, READS = 300, WRITES = 120, MESSAGES = 90, PEEKS = 40 };

static char byte = 'x';

// Long enough that files are found open, and with so much work that the process
// is sampled and has a name of its own.
static void linger(void)
{
	int64_t begin = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	while (clock_ns(CLOCK_PROCESS_CPUTIME_ID) - begin < 300000000ll) {
	}
	usleep(2500000);
}

static void files(void)
{
	struct stat status;
	for (int i = 0; i < MISSING; i++) {
		check(stat("missing", &status) < 0 && errno == ENOENT, "stat");
	}
	int kept = open("kept", O_RDWR | O_CREAT, 0600);
	int gone = open("gone", O_RDWR | O_CREAT, 0600);
	check(kept >= 0 && gone >= 0, "open");
	check(unlink("gone") == 0, "unlink");
	for (int i = 0; i < WRITES; i++) {
		check(write(kept, &byte, 1) == 1, "write");
		check(pwrite(gone, &byte, 1, 0) == 1, "pwrite");
	}
	for (int i = 0; i < READS; i++) {
		check(pread(kept, &byte, 1, 0) == 1, "pread");
		check(fstat(gone, &status) == 0, "fstat");
	}
	linger();
	check(close(kept) == 0 && close(gone) == 0, "close");
	check(close(kept) < 0 && errno == EBADF, "close");
}

static void *reader(void *path)
{
	int file = open(path, O_RDONLY);
	for (int i = 0; i < READS; i++) {
		check(pread(file, &byte, 1, 0) == 1, "pread");
	}
	close(file);
	return NULL;
}

static void talk(int from, int to)
{
	for (int i = 0; i < MESSAGES; i++) {
		check(send(from, &byte, 1, 0) == 1, "send");
		check(recv(to, &byte, 1, 0) == 1, "recv");
	}
	for (int i = 0; i < PEEKS; i++) {
		check(recv(to, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN, "recv");
	}
}

static void peers(void)
{
	struct sockaddr_in inet = {.sin_family = AF_INET, .sin_port = htons(47123)};
	inet.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	struct sockaddr_un local = {.sun_family = AF_UNIX};
	strcpy(local.sun_path, "socket");
	struct {
		int family;
		struct sockaddr *address;
		socklen_t length;
	} kinds[] = {
		{AF_INET, (struct sockaddr *)&inet, sizeof inet},
		{AF_UNIX, (struct sockaddr *)&local, sizeof local},
	};
	for (int i = 0; i < 2; i++) {
		int one = 1;
		int listener = socket(kinds[i].family, SOCK_STREAM, 0);
		check(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0,
		      "setsockopt");
		check(bind(listener, kinds[i].address, kinds[i].length) == 0, "bind");
		check(listen(listener, 1) == 0, "listen");
		int client = socket(kinds[i].family, SOCK_STREAM, 0);
		check(connect(client, kinds[i].address, kinds[i].length) == 0, "connect");
		int server = accept(listener, NULL, NULL);
		check(server >= 0, "accept");
		talk(client, server);
		close(client);
		close(server);
		close(listener);
	}
	int datagram = socket(AF_INET, SOCK_DGRAM, 0);
	inet.sin_port = htons(47124);
	for (int i = 0; i < MESSAGES; i++) {
		check(sendto(datagram, &byte, 1, MSG_DONTWAIT, kinds[0].address, sizeof inet) == 1,
		      "sendto");
	}
	close(datagram);
	// Nobody listens there.
	inet.sin_port = htons(47125);
	int refused = socket(AF_INET, SOCK_STREAM, 0);
	check(connect(refused, kinds[0].address, sizeof inet) < 0 && errno == ECONNREFUSED,
	      "connect");
	close(refused);
}

static void *execute(void *arguments)
{
	char **words = arguments;
	execl("/nonexistent/program", "program", NULL);
	execl(words[0], words[0], words[1], "0", NULL);
	_exit(1);
}

// The same path in another mount namespace is another file.
static void elsewhere(const char *directory, char **arguments)
{
	check(unshare(CLONE_NEWNS) == 0, "unshare");
	check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "mount");
	check(mount("tmpfs", directory, "tmpfs", 0, NULL) == 0, "mount");
	check(chdir(directory) == 0, "chdir");
	int kept = open("kept", O_RDWR | O_CREAT, 0600);
	check(kept >= 0, "open");
	for (int i = 0; i < WRITES / 2; i++) {
		check(write(kept, &byte, 1) == 1, "write");
	}
	linger();
	close(kept);
	// By another thread than the first.
	pthread_t thread;
	check(pthread_create(&thread, NULL, execute, arguments) == 0, "pthread_create");
	pause();
}

int main(int count, char **arguments)
{
	check(count > 1, "no directory");
	if (count > 2 && strcmp(arguments[2], "0") == 0) {
		return 0;
	}
	check(chdir(arguments[1]) == 0, "chdir");
	check(read(STDIN_FILENO, &byte, 1) == 1, "read");
	if (count > 2) {
		for (int i = 0; i < atoi(arguments[2]); i++) {
			char path[40];
			snprintf(path, sizeof path, "/nonexistent/%d", i);
			check(access(path, F_OK) < 0, "access");
		}
		return 0;
	}
	files();
	pthread_t threads[2];
	for (int i = 0; i < 2; i++) {
		check(pthread_create(&threads[i], NULL, reader, "kept") == 0, "pthread_create");
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
	}
	peers();
	pid_t child = fork();
	check(child >= 0, "fork");
	if (child == 0) {
		elsewhere(arguments[1], arguments);
	}
	waitpid(child, NULL, 0);
	return 0;
}
