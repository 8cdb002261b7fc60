// halfstep: the program with the families it ships.
#include "recipes/program/cli.h"

int main(int argc, char **argv) { return hs_program(argc, argv, hs_families); }
