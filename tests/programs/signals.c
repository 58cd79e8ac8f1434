// Sends itself a signal all the time. Much of that is the kernel's work at the
// end of the handler, in a call that is the last instruction of its function.
#include <signal.h>

static void handle(int number)
{
	(void)number;
}

int main(void)
{
	signal(SIGUSR1, handle);
	for (;;) {
		raise(SIGUSR1);
	}
}
