/*
 * Linked to Linux's VFIO selftests: tests that do not name an IOMMU mode take type1v2 where the kernel has no iommufd.
 */
#include <unistd.h>

extern const char *default_iommu_mode;

__attribute__((constructor)) static void choose(void)
{
	if (access("/dev/iommu", F_OK))
		default_iommu_mode = "vfio_type1v2_iommu";
}
