/* What docs/segment-format.md says about an edit, decided from the page and from what the shape
 * noted while it was written, not by the engine's code: it must be found, or it means nothing, and
 * why. No rule grants anything for bytes of a batch that holds an acknowledged record.
 */
#ifndef SLUICE_TESTS_DAMAGE_RULE_H
#define SLUICE_TESTS_DAMAGE_RULE_H

#include "edit.h"

enum rule {
    RULE_MUST_BE_FOUND,
    RULE_NO_EDIT,         /* no byte differs */
    RULE_TORN_TAIL,       /* 7: behind everything acknowledged in the last segment, and no batch
                             stands behind it */
    RULE_BEHIND_COMPLETE, /* 6.4: behind the last batch of an open segment that the next one proves
                             complete */
    RULE_MARK_RESERVED,   /* 8: slot bytes that are not looked at */
    RULE_MARKS_VOID,      /* 8: another size or an invalid header: all marks count as 0 */
    RULE_MARK_LOWER,      /* 8: an older watermark file; the records are there without it */
    RULE_MARK_PRESENT,    /* 8: a higher mark, of a record that is there */
    RULE_COUNT,
};

extern const char *const rule_names[RULE_COUNT];

enum rule rule_for(const struct shape *shape, const struct edit *edit);

#endif
