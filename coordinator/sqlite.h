// Where the coordinator's parts find the database.
#pragma once

#include "common/sqlite/database.h"
