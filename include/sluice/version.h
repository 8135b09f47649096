/* The version of the headers and of the segment format that libsluice reads. */
#ifndef SLUICE_VERSION_H
#define SLUICE_VERSION_H

#define SLUICE_FORMAT_MAJOR 1 /* another major version is refused */
#define SLUICE_FORMAT_MINOR 0

#endif
