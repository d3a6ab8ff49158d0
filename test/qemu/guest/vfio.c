/*
 * A user of VFIO that tests drive: it reads commands from standard input, one a line, and answers each with one line:
 * "ok" and the values asked for, or an errno's name and what it is about. Numbers are as strtoull(3) reads them, DEVICE
 * is the place of a device in the command line of "open", and sizes are 1, 2, 4 or 8 bytes.
 *
 *   open GROUP NAME...                    container, IOMMU and group, and the devices of that group
 *   info DEVICE                           FLAGS REGIONS IRQS
 *   region DEVICE REGION                  FLAGS SIZE
 *   irq DEVICE INDEX                      FLAGS COUNT
 *   read DEVICE REGION OFFSET SIZE        VALUE
 *   write DEVICE REGION OFFSET SIZE VALUE
 *   eventfd DEVICE INDEX                  gives vector 0 of an interrupt index an eventfd
 *   wait DEVICE INDEX MILLISECONDS        how often the eventfd was signalled: 0 when the time is over
 *   unmask DEVICE INDEX
 *   reset DEVICE
 *   hot-reset-info DEVICE                 GROUP/NAME...
 *   hot-reset DEVICE GROUPS               with this many group descriptors: 1 proves who owns the group, 0 nothing
 *   map IOVA SIZE                         new memory, which devices reach at IOVA (one at a time)
 *   peek OFFSET                           32 bits of it
 *   unmap IOVA SIZE
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_WORDS 16
#define MAX_DEVICES 8
#define MAX_DEPENDENT 32

struct device {
	int fd;
	int eventfds[VFIO_PCI_NUM_IRQS];
};

static int container = -1, group = -1;
static struct device devices[MAX_DEVICES];
static int device_count;
static uint8_t *memory;

/* The words of the command, and its answer. */
static char *words[MAX_WORDS];
static int word_count;
static char answer[4096];

static int fail(const char *what)
{
	snprintf(answer, sizeof(answer), "%s %s", strerrorname_np(errno), what);
	return -1;
}

static void say(const char *form, ...)
{
	size_t used = strlen(answer);
	va_list values;

	va_start(values, form);
	vsnprintf(answer + used, sizeof(answer) - used, form, values);
	va_end(values);
}

static uint64_t number(int word)
{
	return word < word_count ? strtoull(words[word], NULL, 0) : 0;
}

static struct device *device(void)
{
	uint64_t index = number(1);

	if (index < (uint64_t)device_count)
		return &devices[index];
	fprintf(stderr, "no device %s\n", words[1]);
	exit(1);
}

static int open_group(void)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	char path[64];

	snprintf(path, sizeof(path), "/dev/vfio/%s", words[1]);
	container = open("/dev/vfio/vfio", O_RDWR);
	if (container < 0)
		return fail("/dev/vfio/vfio");
	if (ioctl(container, VFIO_GET_API_VERSION) != VFIO_API_VERSION)
		return fail("VFIO_GET_API_VERSION");
	group = open(path, O_RDWR);
	if (group < 0)
		return fail(path);
	if (ioctl(group, VFIO_GROUP_GET_STATUS, &status))
		return fail("VFIO_GROUP_GET_STATUS");
	errno = EBUSY;
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		return fail("a device of the group has another driver");
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container))
		return fail("VFIO_GROUP_SET_CONTAINER");
	if (ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return fail("VFIO_SET_IOMMU");
	for (int word = 2; word < word_count && device_count < MAX_DEVICES; word++) {
		struct device *new = &devices[device_count];

		new->fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, words[word]);
		if (new->fd < 0)
			return fail("VFIO_GROUP_GET_DEVICE_FD");
		for (int index = 0; index < VFIO_PCI_NUM_IRQS; index++)
			new->eventfds[index] = -1;
		device_count++;
	}
	return 0;
}

static int info(void)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };

	if (ioctl(device()->fd, VFIO_DEVICE_GET_INFO, &info))
		return fail("VFIO_DEVICE_GET_INFO");
	say(" %u %u %u", info.flags, info.num_regions, info.num_irqs);
	return 0;
}

static int get_region(struct vfio_region_info *region)
{
	*region = (struct vfio_region_info){ .argsz = sizeof(*region), .index = number(2) };
	if (ioctl(device()->fd, VFIO_DEVICE_GET_REGION_INFO, region))
		return fail("VFIO_DEVICE_GET_REGION_INFO");
	return 0;
}

static int region(void)
{
	struct vfio_region_info region;

	if (get_region(&region))
		return -1;
	say(" %u %llu", region.flags, region.size);
	return 0;
}

static int irq(void)
{
	struct vfio_irq_info irq = { .argsz = sizeof(irq), .index = number(2) };

	if (ioctl(device()->fd, VFIO_DEVICE_GET_IRQ_INFO, &irq))
		return fail("VFIO_DEVICE_GET_IRQ_INFO");
	say(" %u %u", irq.flags, irq.count);
	return 0;
}

static int access_region(int writing)
{
	struct vfio_region_info region;
	size_t size = number(4);
	uint64_t value = number(5); /* x86 and PCI are both little-endian */
	ssize_t done;

	if (get_region(&region))
		return -1;
	off_t at = region.offset + number(3);
	errno = EIO;
	if (writing)
		done = pwrite(device()->fd, &value, size, at);
	else
		done = pread(device()->fd, &value, size, at);
	if (done != (ssize_t)size)
		return fail(writing ? "pwrite" : "pread");
	if (!writing)
		say(" %llu", (unsigned long long)value);
	return 0;
}

static int read_region(void)
{
	return access_region(0);
}

static int write_region(void)
{
	return access_region(1);
}

/* VFIO_DEVICE_SET_IRQS for vector 0 of the index that the command names. */
static int set_irqs(uint32_t flags, int eventfd)
{
	struct {
		struct vfio_irq_set set;
		int32_t eventfd;
	} request = {
		.set = { .argsz = sizeof(request), .flags = flags, .index = number(2), .start = 0, .count = 1 },
		.eventfd = eventfd,
	};

	if (ioctl(device()->fd, VFIO_DEVICE_SET_IRQS, &request))
		return fail("VFIO_DEVICE_SET_IRQS");
	return 0;
}

static int *eventfd_of_index(void)
{
	return &device()->eventfds[number(2) % VFIO_PCI_NUM_IRQS];
}

static int give_eventfd(void)
{
	int *fd = eventfd_of_index();

	*fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (*fd < 0)
		return fail("eventfd");
	return set_irqs(VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, *fd);
}

static int wait_for_eventfd(void)
{
	int fd = *eventfd_of_index();
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	uint64_t count = 0;

	if (poll(&poller, 1, number(3)) < 0)
		return fail("poll");
	if ((poller.revents & POLLIN) && read(fd, &count, sizeof(count)) != sizeof(count))
		return fail("read of the eventfd");
	say(" %llu", (unsigned long long)count);
	return 0;
}

static int unmask(void)
{
	return set_irqs(VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, -1);
}

static int reset(void)
{
	if (ioctl(device()->fd, VFIO_DEVICE_RESET))
		return fail("VFIO_DEVICE_RESET");
	return 0;
}

static int hot_reset_info(void)
{
	struct {
		struct vfio_pci_hot_reset_info info;
		struct vfio_pci_dependent_device devices[MAX_DEPENDENT];
	} reply = { .info = { .argsz = sizeof(reply) } };

	if (ioctl(device()->fd, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &reply))
		return fail("VFIO_DEVICE_GET_PCI_HOT_RESET_INFO");
	for (uint32_t i = 0; i < reply.info.count; i++) {
		struct vfio_pci_dependent_device *one = &reply.devices[i];

		say(" %u/%04x:%02x:%02x.%x", one->group_id, one->segment, one->bus, one->devfn >> 3, one->devfn & 7);
	}
	return 0;
}

static int hot_reset(void)
{
	struct {
		struct vfio_pci_hot_reset request;
		int32_t group;
	} reset = {
		.request = { .argsz = sizeof(reset), .count = number(2) ? 1 : 0 },
		.group = group,
	};

	if (ioctl(device()->fd, VFIO_DEVICE_PCI_HOT_RESET, &reset))
		return fail("VFIO_DEVICE_PCI_HOT_RESET");
	return 0;
}

static int map(void)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.iova = number(1),
		.size = number(2),
	};

	memory = mmap(NULL, map.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return fail("mmap");
	map.vaddr = (uintptr_t)memory;
	if (ioctl(container, VFIO_IOMMU_MAP_DMA, &map))
		return fail("VFIO_IOMMU_MAP_DMA");
	return 0;
}

static int peek(void)
{
	uint32_t value;

	memcpy(&value, memory + number(1), sizeof(value));
	say(" %u", value);
	return 0;
}

static int unmap(void)
{
	struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof(unmap), .iova = number(1), .size = number(2) };

	if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap))
		return fail("VFIO_IOMMU_UNMAP_DMA");
	munmap(memory, number(2));
	return 0;
}

static const struct {
	const char *name;
	int (*run)(void);
} commands[] = {
	{ "open", open_group },
	{ "info", info },
	{ "region", region },
	{ "irq", irq },
	{ "read", read_region },
	{ "write", write_region },
	{ "eventfd", give_eventfd },
	{ "wait", wait_for_eventfd },
	{ "unmask", unmask },
	{ "reset", reset },
	{ "hot-reset-info", hot_reset_info },
	{ "hot-reset", hot_reset },
	{ "map", map },
	{ "peek", peek },
	{ "unmap", unmap },
};

static int run(void)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(words[0], commands[i].name))
			return commands[i].run();
	errno = ENOSYS;
	return fail(words[0]);
}

int main(void)
{
	char line[1024];

	while (fgets(line, sizeof(line), stdin)) {
		char *rest = line;

		word_count = 0;
		while (word_count < MAX_WORDS && (words[word_count] = strsep(&rest, " \n")))
			if (*words[word_count])
				word_count++;
		if (word_count == 0)
			continue;
		strcpy(answer, "ok");
		run();
		puts(answer);
		fflush(stdout);
	}
	return 0;
}
