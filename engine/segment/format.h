/* The bytes on disk, version 1.0. docs/segment-format.md is the specification; this header is its
 * transcription, with the offsets beside the fields, and may only change together with it.
 *
 * All integers are little-endian. Structures are written from memory as they are, which the
 * static_asserts and the byte-order check below make right. FROZEN: every value here is on disk.
 */
#ifndef SLUICE_SEGMENT_FORMAT_H
#define SLUICE_SEGMENT_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "segments are written in host order");

#define SEGMENT_VERSION_MAJOR 1
#define SEGMENT_VERSION_MINOR 0

#define SEGMENT_BLOCK_BYTES      4096 /* unit of writing: no acknowledged sector is written again */
#define SEGMENT_NODE_BYTES       16
#define SEGMENT_HASH_BYTES       32
#define SEGMENT_RECORD_ALIGNMENT 8

/* No writer makes larger batches (the limit of batch_bytes_max); recovery relies on it. */
#define SEGMENT_BATCH_BYTES_LIMIT 16777216

/* One block at offset 0. All zeros: the segment was prepared and is not in use yet. */
struct segment_header {
    char magic[8];                           /* 0000-0007 "SLUICSEG" */
    uint16_t version_major;                  /* 0008-0009 */
    uint16_t version_minor;                  /* 0010-0011 */
    uint32_t header_bytes;                   /* 0012-0015 4096 */
    uint8_t node_id[SEGMENT_NODE_BYTES];     /* 0016-0031 */
    uint32_t journal;                        /* 0032-0035 */
    uint32_t reserved;                       /* 0036-0039 zero */
    uint64_t segment_number;                 /* 0040-0047 from 1, gapless per journal */
    uint64_t first_sequence;                 /* 0048-0055 of the first record written here */
    uint64_t created_at_ns;                  /* 0056-0063 taken into use, UTC since 1970 */
    uint64_t file_bytes;                     /* 0064-0071 size as created */
    uint8_t chain_start[SEGMENT_HASH_BYTES]; /* 0072-0103 last hash of the segment before, or 0 */
    uint8_t zeros[3988];                     /* 0104-4091 zero */
    uint32_t crc32c;                         /* 4092-4095 of bytes 0000-4091 */
};
static_assert(sizeof(struct segment_header) == SEGMENT_BLOCK_BYTES, "frozen");
static_assert(offsetof(struct segment_header, segment_number) == 40, "frozen");
static_assert(offsetof(struct segment_header, chain_start) == 72, "frozen");
static_assert(offsetof(struct segment_header, crc32c) == 4092, "frozen");

#define SEGMENT_HEADER_MAGIC "SLUICSEG"

/* At the start of a batch, on a block boundary. The records follow at once, then zeros up to
 * batch_bytes. The hash of a batch is SHA-256 over this header and, for each record, its bytes from
 * 0 to envelope_bytes; bodies are covered through their SHA-256 in the envelope, so that each body
 * is hashed once and not twice. */
struct segment_batch_header {
    char magic[8];                             /* 000-007 "SLUICBAT" */
    uint32_t crc32c;                           /* 008-011 of bytes 012-127 */
    uint32_t header_bytes;                     /* 012-015 128 */
    uint8_t node_id[SEGMENT_NODE_BYTES];       /* 016-031 */
    uint32_t journal;                          /* 032-035 */
    uint32_t record_count;                     /* 036-039 0: an empty batch, a mark */
    uint64_t segment_number;                   /* 040-047 */
    uint64_t batch_number;                     /* 048-055 from 0 in each segment */
    uint64_t first_sequence;                   /* 056-063 of the first record, or the next one */
    uint64_t watermark;                        /* 064-071 durable when this was written */
    uint64_t written_at_ns;                    /* 072-079 UTC since 1970 */
    uint32_t payload_bytes;                    /* 080-083 records, without the zeros behind them */
    uint32_t batch_bytes;                      /* 084-087 all, a multiple of 4096 */
    uint32_t payload_crc32c;                   /* 088-091 of bytes 128 to batch_bytes */
    uint32_t reserved;                         /* 092-095 zero */
    uint8_t previous_hash[SEGMENT_HASH_BYTES]; /* 096-127 of the batch before, or chain_start */
};
static_assert(sizeof(struct segment_batch_header) == 128, "frozen");
static_assert(offsetof(struct segment_batch_header, segment_number) == 40, "frozen");
static_assert(offsetof(struct segment_batch_header, payload_bytes) == 80, "frozen");
static_assert(offsetof(struct segment_batch_header, previous_hash) == 96, "frozen");

#define SEGMENT_BATCH_MAGIC "SLUICBAT"

enum segment_record_kind {
    SEGMENT_RECORD_SUBMISSION = 1,
    SEGMENT_RECORD_CONFLICT = 2,   /* same identity, other bytes */
    SEGMENT_RECORD_CORRECTION = 3, /* amends an earlier submission */
    SEGMENT_RECORD_LOST = 4,       /* was acknowledged and is damaged; repair put this there */
};

/* The code of the one finding of a lost record; its details say where and when. */
#define SEGMENT_FINDING_LOST "lost-to-damage"

enum segment_record_flags {
    SEGMENT_RECORD_OFFSET_KNOWN = 1, /* device_offset_minutes was written by the device */
    SEGMENT_RECORD_ID_FROM_KEY = 2,  /* submission id taken from Idempotency-Key */
    SEGMENT_RECORD_ID_ASSIGNED = 4,  /* submission id assigned by the engine */
    SEGMENT_RECORD_FLAGS_ALL = 7,
};

/* A record: this header, `fields` (tag, length, bytes; tags ascending), the body exactly as
 * received, zeros up to a multiple of 8. */
struct segment_record_header {
    char magic[4];                           /* 000-003 "SREC" */
    uint32_t crc32c;                         /* 004-007 of bytes 008 to record_bytes */
    uint32_t record_bytes;                   /* 008-011 all, a multiple of 8 */
    uint32_t envelope_bytes;                 /* 012-015 offset of the body */
    uint32_t body_bytes;                     /* 016-019 */
    uint8_t kind;                            /* 020     enum segment_record_kind */
    uint8_t flags;                           /* 021     enum segment_record_flags */
    int16_t device_offset_minutes;           /* 022-023 0 unless OFFSET_KNOWN */
    uint64_t sequence;                       /* 024-031 */
    uint64_t received_at_ns;                 /* 032-039 UTC since 1970, by the server's clock */
    int64_t device_time_ns;                  /* 040-047 UTC since 1970, by the device's clock */
    uint8_t trace_id[16];                    /* 048-063 W3C trace id */
    uint8_t body_sha256[SEGMENT_HASH_BYTES]; /* 064-095 */
    uint32_t field_count;                    /* 096-099 */
    uint32_t reserved;                       /* 100-103 zero */
};
static_assert(sizeof(struct segment_record_header) == 104, "frozen");
static_assert(offsetof(struct segment_record_header, sequence) == 24, "frozen");
static_assert(offsetof(struct segment_record_header, body_sha256) == 64, "frozen");

#define SEGMENT_RECORD_MAGIC "SREC"

/* Before the bytes of a field; not aligned. A reader skips tags it does not know. */
struct segment_field_header {
    uint16_t tag;   /* 0-1 enum segment_field */
    uint16_t bytes; /* 2-3 of the value behind it */
};
static_assert(sizeof(struct segment_field_header) == 4, "frozen");

enum segment_field {
    SEGMENT_FIELD_SUBMISSION_ID = 1,
    SEGMENT_FIELD_STUDY_ID = 2,
    SEGMENT_FIELD_CENTER_ID = 3,
    SEGMENT_FIELD_PATIENT_ID = 4,
    SEGMENT_FIELD_INSTRUMENT = 5,
    SEGMENT_FIELD_FORM_VERSION = 6,
    SEGMENT_FIELD_VISIT = 7,
    SEGMENT_FIELD_TIMEZONE = 8,
    SEGMENT_FIELD_AMENDS = 9,
    SEGMENT_FIELD_REASON = 10,
    SEGMENT_FIELD_CREDENTIAL = 11, /* name of the credential that wrote it */
    SEGMENT_FIELD_FINDING = 12, /* may repeat: the finding's code, then, behind a 0x00, details */
    SEGMENT_FIELD_REGISTRY_VERSION = 13,
};
#define SEGMENT_FIELD_TAG_LAST 13

/* At the end of a sealed segment: this header, batch_count index entries, zeros, and the trailer in
 * the file's last 32 bytes. */
struct segment_footer_header {
    char magic[8];                         /* 000-007 "SLUICFTR" */
    uint32_t crc32c;                       /* 008-011 of bytes 012 to footer_bytes */
    uint32_t footer_bytes;                 /* 012-015 all with the trailer, a multiple of 4096 */
    uint8_t node_id[SEGMENT_NODE_BYTES];   /* 016-031 */
    uint32_t journal;                      /* 032-035 */
    uint32_t batch_count;                  /* 036-039 */
    uint64_t segment_number;               /* 040-047 */
    uint64_t record_count;                 /* 048-055 */
    uint64_t first_sequence;               /* 056-063 as in the segment header */
    uint64_t next_sequence;                /* 064-071 first_sequence + record_count */
    uint64_t oldest_received_at_ns;        /* 072-079 0 without records */
    uint64_t newest_received_at_ns;        /* 080-087 0 without records */
    uint64_t data_end;                     /* 088-095 offset of this footer */
    uint64_t sealed_at_ns;                 /* 096-103 */
    uint8_t last_hash[SEGMENT_HASH_BYTES]; /* 104-135 of the last batch, or chain_start */
    uint64_t reserved;                     /* 136-143 zero */
};
static_assert(sizeof(struct segment_footer_header) == 144, "frozen");
static_assert(offsetof(struct segment_footer_header, data_end) == 88, "frozen");
static_assert(offsetof(struct segment_footer_header, last_hash) == 104, "frozen");

#define SEGMENT_FOOTER_MAGIC "SLUICFTR"

struct segment_index_entry {
    uint64_t offset;         /* 00-07 of the batch in the file */
    uint64_t first_sequence; /* 08-15 as in the batch header */
    uint32_t record_count;   /* 16-19 */
    uint32_t batch_bytes;    /* 20-23 */
};
static_assert(sizeof(struct segment_index_entry) == 24, "frozen");

struct segment_trailer {
    char magic[8];          /* 00-07 "SLUICEND" */
    uint64_t footer_offset; /* 08-15 = data_end */
    uint32_t footer_bytes;  /* 16-19 */
    uint32_t crc32c;        /* 20-23 of bytes 00-19 */
    uint64_t reserved;      /* 24-31 zero */
};
static_assert(sizeof(struct segment_trailer) == 32, "frozen");

#define SEGMENT_TRAILER_MAGIC "SLUICEND"

static inline uint64_t segment_round_up(uint64_t value, uint64_t multiple)
{
    return (value + multiple - 1) / multiple * multiple;
}

/* Bytes of the footer of a segment with `batch_count` batches. */
static inline uint64_t segment_footer_bytes(uint64_t batch_count)
{
    return segment_round_up(sizeof(struct segment_footer_header) +
                                batch_count * sizeof(struct segment_index_entry) +
                                sizeof(struct segment_trailer),
                            SEGMENT_BLOCK_BYTES);
}

/* The file DIR/watermark: a header, then a slot per journal. Not needed for durability: after a
 * crash of the machine it may be old, never ahead. */
#define SEGMENT_WATERMARK_MAGIC        "SLUICWMK"
#define SEGMENT_WATERMARK_JOURNALS_MAX 1024
#define SEGMENT_WATERMARK_SLOT_BYTES   64

struct segment_watermark_header {
    char magic[8];                       /* 00-07 "SLUICWMK" */
    uint16_t version_major;              /* 08-09 */
    uint16_t version_minor;              /* 10-11 */
    uint32_t slot_count;                 /* 12-15 1024 */
    uint8_t node_id[SEGMENT_NODE_BYTES]; /* 16-31 */
    uint8_t reserved[28];                /* 32-59 zero */
    uint32_t crc32c;                     /* 60-63 of bytes 00-59 */
};
static_assert(sizeof(struct segment_watermark_header) == SEGMENT_WATERMARK_SLOT_BYTES, "frozen");

#endif
