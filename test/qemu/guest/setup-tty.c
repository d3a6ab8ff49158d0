/*
 * Has a tty's driver set its port up anew: setup-tty TTY
 *
 * As stty would, but at once: stty waits until everything was sent, which a port that was reset in the middle of
 * sending never does.
 */
#include <fcntl.h>
#include <stdio.h>
#include <termios.h>

int main(int argc, char **argv)
{
	struct termios tty;
	int fd = argc == 2 ? open(argv[1], O_RDWR | O_NOCTTY | O_NONBLOCK) : -1;

	if (fd < 0 || tcgetattr(fd, &tty)) {
		perror(argv[argc - 1]);
		return 1;
	}
	speed_t speed = cfgetospeed(&tty);

	/* Settings that change nothing do not reach the driver. */
	cfsetspeed(&tty, speed == B57600 ? B115200 : B57600);
	int failed = tcsetattr(fd, TCSANOW, &tty);

	cfsetspeed(&tty, speed);
	if (failed || tcsetattr(fd, TCSANOW, &tty)) {
		perror(argv[1]);
		return 1;
	}
	return 0;
}
