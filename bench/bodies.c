#include "bodies.h"

#include "base/check.h"
#include "record/json.h"

#include <stdio.h>
#include <string.h>

static const uint32_t sizes[BODY_COUNT] = {75, 570, 2000, BODY_BYTES_MAX};

static const char smallest[] =
    "{\"patientId\":\"01-701-1015\",\"timestamp\":1772391900,\"scores\":{\"Q1\":3,\"Q2\":0}}";
_Static_assert(sizeof(smallest) - 1 == 75, "the first size");

static const char form_start[] =
    "{\"submissionId\":\"0d4f1f3e-6a52-4c3b-9a5e-2f1f0c7d8e91\",\"studyId\":\"CDISCPILOT01\","
    "\"centerId\":\"701\",\"patientId\":\"01-701-1015\",\"instrument\":\"NEUROPSYCHIATRIC "
    "INVENTORY\",\"visit\":\"WEEK 12\",\"timestamp\":\"2026-03-01T20:04:00+01:00\",\"scores\":{";
static const char form_end[] = "\"}}";

#define TEXTS_FROM_BYTES                                                                           \
    8000 /* larger forms have text answers: 512 items is the most there may be */

static void make_form(char *out, uint32_t bytes)
{
    char item[128];
    size_t used = sizeof(form_start) - 1;
    memcpy(out, form_start, used);
    for (unsigned i = 1;; i++) {
        const char *text = "\"somewhat worse since the last visit, mostly at night\"";
        int item_bytes = bytes >= TEXTS_FROM_BYTES && i % 2 == 0
                             ? snprintf(item, sizeof(item), "\"NPITM%03u\":%s,", i, text)
                             : snprintf(item, sizeof(item), "\"NPITM%03u\":%u,", i, i % 13);
        if (used + (size_t)item_bytes + 32 > bytes)
            break;
        memcpy(out + used, item, (size_t)item_bytes);
        used += (size_t)item_bytes;
    }
    /* the last item is a text that fills the rest */
    memcpy(out + used, "\"REST\":\"", 8);
    used += 8;
    size_t end = bytes - (sizeof(form_end) - 1);
    CHECK(used <= end);
    memset(out + used, 'x', end - used);
    memcpy(out + end, form_end, sizeof(form_end) - 1);
}

const struct body *bodies(void)
{
    static char memory[BODY_COUNT][BODY_BYTES_MAX + RECORD_JSON_PADDING_BYTES];
    static struct body all[BODY_COUNT];
    if (all[0].data != NULL)
        return all;
    memcpy(memory[0], smallest, sizes[0]);
    for (unsigned i = 0; i < BODY_COUNT; i++) {
        if (i > 0)
            make_form(memory[i], sizes[i]);
        all[i] = (struct body){memory[i], sizes[i]};
    }
    return all;
}
