/* The libraries that keep a state of their own, set up before anything else is done. */
#pragma once

/* Where memory is short the program ends at once, with a line on stderr, when jansson, libcrypto or libcurl
 * asks for some: an end is safe at any instruction, what they make of a shortage is not. Before the first
 * call of any of them. NULL, or why it can't be. */
const char *libraries_begin(void);
void libraries_end(void);
