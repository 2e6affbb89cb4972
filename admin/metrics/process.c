/* The process_* families that every Prometheus client library has, from /proc.
 */
#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "admin/metrics/metrics.h"

static unsigned
open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n > 3 ? n - 3 : 0; /* ".", ".." and the directory itself */
}

static void
memory(struct exposition *x)
{
	unsigned long virtual = 0, resident = 0;
	FILE *file = fopen("/proc/self/statm", "re");
	double page = (double)sysconf(_SC_PAGESIZE);
	int n = 0;

	if (file) {
		n = fscanf(file, "%lu %lu", &virtual, &resident);
		fclose(file);
	}
	if (n != 2)
		return;
	family_begin(x, FAMILY_GAUGE, "process_virtual_memory_bytes",
	    "Virtual memory size.");
	family_value(x, NULL, (double)virtual * page);
	family_begin(x, FAMILY_GAUGE, "process_resident_memory_bytes",
	    "Resident memory size.");
	family_value(x, NULL, (double)resident * page);
}

static double
seconds(struct timeval time)
{
	return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

void
metrics_process(struct exposition *x, const struct process_facts *facts)
{
	struct rusage usage;
	struct rlimit limit;

	if (getrusage(RUSAGE_SELF, &usage) == 0) {
		family_begin(x, FAMILY_COUNTER, "process_cpu_seconds",
		    "User and system CPU time spent.");
		family_value(
		    x, NULL, seconds(usage.ru_utime) + seconds(usage.ru_stime));
	}
	family_begin(
	    x, FAMILY_GAUGE, "process_open_fds", "Open file descriptors.");
	family_count(x, NULL, open_descriptors());
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		family_begin(x, FAMILY_GAUGE, "process_max_fds",
		    "Most file descriptors that may be open.");
		family_value(x, NULL, (double)limit.rlim_cur);
	}
	memory(x);
	family_begin(x, FAMILY_COUNTER, "weir_dns_lookups",
	    "Lookups of names that endpoints have.");
	family_count(
	    x, (struct label[]){{"result", "ok"}, {0}}, facts->dns_good);
	family_count(
	    x, (struct label[]){{"result", "failed"}, {0}}, facts->dns_failed);
	family_begin(x, FAMILY_GAUGE, "weir_dns_names",
	    "Names of the running config, by how their last lookup ended; the "
	    "last good answer of one that fails stays in use.");
	family_value(x, (struct label[]){{"state", "ok"}, {0}},
	    facts->dns_names - facts->dns_failing);
	family_value(
	    x, (struct label[]){{"state", "failing"}, {0}}, facts->dns_failing);
	family_begin(x, FAMILY_GAUGE, "process_start_time_seconds",
	    "Start of the process, since the epoch.");
	family_value(x, NULL, (double)facts->started_at);
}
