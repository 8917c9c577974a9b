/* SPDX-License-Identifier: MIT */
/* `sluice xdp`: the filter attached, changed and looked at from the command line. */
#ifndef SLUICE_XDP_COMMAND_H
#define SLUICE_XDP_COMMAND_H

/*
 * Runs the words behind "xdp": a subcommand, its operands and options. Prints results on standard
 * output, and what went wrong in one line on standard error. Returns the exit status: 0, 1 for a
 * failure, 2 for wrong use.
 */
int xdp_command(int argc, char *const argv[]);

#endif
