/*
 * Room on the disk that was taken when there was some: what leads back to the
 * stable version is recorded there when the journal cannot grow. Lines are as
 * in the journal and count as coming after all of it; the next snapshot has
 * them and makes the room free again.
 */
#ifndef WEIR_ADMIN_JOURNAL_RESERVE_H
#define WEIR_ADMIN_JOURNAL_RESERVE_H

#include "admin/state/journal.h"

/* After the journal was read: takes what stands there, and takes the room. */
bool reserve_open(struct journal *journal, struct err *err);
/* Later: what stands there is older than the snapshot, and is wiped. */
bool reserve_renew(struct journal *journal, struct err *err);
/* Written over bytes that the disk has given already, and synced. */
bool reserve_write(struct journal *journal, const char *line, size_t len);
void reserve_release(struct journal *journal);

#endif
