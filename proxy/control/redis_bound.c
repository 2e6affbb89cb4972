/* See redis_bound.h. hiredis takes a NULL for an object as "no memory" and
 * ends there; what was built is its own to free. */
#include "proxy/control/redis_bound.h"

#include <stdint.h>
#include <string.h>

#if HIREDIS_MAJOR >= 1
typedef size_t element_count; /* hiredis has changed its mind */
#else
typedef int element_count;
#endif

enum {
	/* What malloc makes of a redisReply, and of a short text's header. */
	REPLY_COST = sizeof(redisReply) + 16,
	TEXT_COST = 32,
	LINE_MAX_BYTES = 64 << 10, /* of an error, a number */
};

static struct redis_bound *
bound_of(const redisReadTask *task)
{
	return task->privdata;
}

static bool
may_build(const redisReadTask *task, size_t cost)
{
	struct redis_bound *bound = bound_of(task);

	if (bound->is_over || cost > REDIS_ANSWER_MAX - bound->built) {
		bound->is_over = true;
		return false;
	}
	bound->built += cost;
	return true;
}

static int
depth_of(const redisReadTask *task)
{
	int depth = 1;

	for (; task->parent; task = task->parent)
		depth++;
	return depth;
}

static void *
create_string(const redisReadTask *task, char *text, size_t len)
{
	if (len > REDIS_ANSWER_MAX ||
	    !may_build(task, REPLY_COST + TEXT_COST + len))
		return NULL;
	return bound_of(task)->made_by->createString(task, text, len);
}

static void *
create_array(const redisReadTask *task, element_count n)
{
	/* A negative one becomes a great one. */
	if ((size_t)n > REDIS_ELEMENTS_MAX ||
	    depth_of(task) > REDIS_DEPTH_MAX) {
		bound_of(task)->is_over = true;
		return NULL;
	}
	if (!may_build(task, REPLY_COST + (size_t)n * sizeof(void *)))
		return NULL;
	return bound_of(task)->made_by->createArray(task, n);
}

static void *
create_integer(const redisReadTask *task, long long value)
{
	if (!may_build(task, REPLY_COST))
		return NULL;
	return bound_of(task)->made_by->createInteger(task, value);
}

static void *
create_nil(const redisReadTask *task)
{
	if (!may_build(task, REPLY_COST))
		return NULL;
	return bound_of(task)->made_by->createNil(task);
}

#if HIREDIS_MAJOR >= 1
static void *
create_double(const redisReadTask *task, double value, char *text, size_t len)
{
	if (len > REDIS_ANSWER_MAX ||
	    !may_build(task, REPLY_COST + TEXT_COST + len))
		return NULL;
	return bound_of(task)->made_by->createDouble(task, value, text, len);
}

static void *
create_bool(const redisReadTask *task, int value)
{
	if (!may_build(task, REPLY_COST))
		return NULL;
	return bound_of(task)->made_by->createBool(task, value);
}
#endif

redisReader *
redis_bound_reader(struct redis_bound *bound)
{
	static const redisReplyObjectFunctions counted = {
		.createString = create_string,
		.createArray = create_array,
		.createInteger = create_integer,
		.createNil = create_nil,
#if HIREDIS_MAJOR >= 1
		.createDouble = create_double,
		.createBool = create_bool,
#endif
		.freeObject = freeReplyObject,
	};
	redisReader *reader = redisReaderCreate();

	if (!reader)
		return NULL;
	*bound = (struct redis_bound){.made_by = reader->fn};
	reader->fn = (redisReplyObjectFunctions *)(uintptr_t)&counted;
	reader->privdata = bound;
	return reader;
}

void
redis_bound_reset(struct redis_bound *bound)
{
	bound->built = 0;
}

bool
redis_bound_is_reached(
    const struct redis_bound *bound, const redisReader *reader)
{
	size_t waits = reader->len - reader->pos;

	/* hiredis looks for a line's end from its beginning each time. */
	return bound->is_over || waits > REDIS_ANSWER_MAX - bound->built ||
	       (waits > LINE_MAX_BYTES &&
	           !memchr(reader->buf + reader->pos, '\n', LINE_MAX_BYTES));
}
