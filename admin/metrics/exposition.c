/*
 * The two text formats differ in the name of a counter's family and in the
 * closing mark. Histograms are shown in classic buckets with round edges; the
 * log-linear buckets below an edge are counted whole and the one that the edge
 * cuts by its share, so a bucket is off by at most one of 4.4 % width.
 */
#include "admin/metrics/exposition.h"

static const char *const type_names[] = {"counter", "gauge", "histogram"};

/* Seconds; a decimal text each, since a float's digits would not match a query.
 */
static const struct {
	const char *text;
	nsec_t edge;
} edges[] = {
    {"0.0005", 500000},
    {"0.001", 1000000},
    {"0.0025", 2500000},
    {"0.005", 5000000},
    {"0.01", 10000000},
    {"0.025", 25000000},
    {"0.05", 50000000},
    {"0.1", 100000000},
    {"0.25", 250000000},
    {"0.5", 500000000},
    {"1.0", 1000000000},
    {"2.5", 2500000000},
    {"5.0", 5000000000},
    {"10.0", 10000000000},
    {"30.0", 30000000000},
    {"60.0", 60000000000},
};

void
family_begin(
    struct exposition *x, enum family type, const char *name, const char *help)
{
	const char *suffix =
	    type == FAMILY_COUNTER && !x->is_open ? "_total" : "";

	x->name = name;
	x->type = type;
	fprintf(x->out, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, suffix, help,
	    name, suffix, type_names[type]);
}

static void
put_value(FILE *out, const char *value)
{
	for (; *value; value++) {
		if (*value == '\n') {
			fputs("\\n", out);
			continue;
		}
		if (*value == '"' || *value == '\\')
			fputc('\\', out);
		fputc(*value, out);
	}
}

static void
put_labels(FILE *out, const struct label *labels, const char *le)
{
	const char *before = "{";

	for (; labels && labels->key; labels++) {
		fprintf(out, "%s%s=\"", before, labels->key);
		put_value(out, labels->value);
		fputc('"', out);
		before = ",";
	}
	if (le) {
		fprintf(out, "%sle=\"%s\"", before, le);
		before = ",";
	}
	if (*before == ',')
		fputc('}', out);
}

void
family_count(struct exposition *x, const struct label *labels, uint64_t value)
{
	fputs(x->name, x->out);
	if (x->type == FAMILY_COUNTER)
		fputs("_total", x->out);
	put_labels(x->out, labels, NULL);
	fprintf(x->out, " %llu\n", (unsigned long long)value);
}

void
family_value(struct exposition *x, const struct label *labels, double value)
{
	fputs(x->name, x->out);
	if (x->type == FAMILY_COUNTER)
		fputs("_total", x->out);
	put_labels(x->out, labels, NULL);
	fprintf(x->out, " %.15g\n", value);
}

static void
put_bucket(struct exposition *x, const struct label *labels, const char *le,
    uint64_t count)
{
	fprintf(x->out, "%s_bucket", x->name);
	put_labels(x->out, labels, le);
	fprintf(x->out, " %llu\n", (unsigned long long)count);
}

/* How many of bucket i lie at or below the edge, with an even spread assumed.
 */
static uint64_t
part_below(const struct histogram_sum *sum, unsigned i, nsec_t edge)
{
	nsec_t low = i ? histogram_edge(i - 1) : 0, high = histogram_edge(i);

	if (i == HISTOGRAM_BUCKETS - 1 || edge <= low)
		return 0;
	if (edge >= high)
		return sum->bucket[i];
	return (uint64_t)((double)sum->bucket[i] * (double)(edge - low) /
	                  (double)(high - low));
}

void
family_histogram(struct exposition *x, const struct label *labels,
    const struct histogram_sum *sum)
{
	uint64_t below = 0, total = 0;
	unsigned i = 0;

	for (unsigned j = 0; j < HISTOGRAM_BUCKETS; j++)
		total += sum->bucket[j];
	for (size_t e = 0; e < sizeof(edges) / sizeof(edges[0]); e++) {
		while (i < HISTOGRAM_BUCKETS - 1 &&
		       histogram_edge(i) <= edges[e].edge)
			below += sum->bucket[i++];
		put_bucket(x, labels, edges[e].text,
		    below + part_below(sum, i, edges[e].edge));
	}
	put_bucket(x, labels, "+Inf", total);
	fprintf(x->out, "%s_sum", x->name);
	put_labels(x->out, labels, NULL);
	fprintf(x->out, " %.15g\n", (double)sum->sum / NSEC_PER_SEC);
	fprintf(x->out, "%s_count", x->name);
	put_labels(x->out, labels, NULL);
	fprintf(x->out, " %llu\n", (unsigned long long)total);
}

void
exposition_end(struct exposition *x)
{
	if (x->is_open)
		fputs("# EOF\n", x->out);
}
