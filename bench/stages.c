/* What each stage of the data path costs, in the order of the data path. */
#include "stages.h"

#include <sysexits.h>

int main(int argc, char **argv)
{
    static struct measure measure;
    if (measure_begin(&measure, "stages", argc, argv) != argc)
        return EX_USAGE;
    stage_http(&measure);
    stage_request(&measure);
    stage_queue(&measure);
    stage_json(&measure);
    stage_submission(&measure);
    stage_findings(&measure);
    stage_checksum(&measure);
    stage_encode(&measure);
    stage_batch(&measure);
    stage_whole(&measure);
    stage_response(&measure);
    return measure_end(&measure);
}
