# Loaded before a test of memcached's. Only its debug build can move its clock
# (debugtime); here a test waits instead, and a bit longer, because clocks that
# count whole seconds are late by up to one.
package RealTime;
use strict;
use MemcachedTest ();

no warnings 'redefine';
*MemcachedTest::mem_move_time = sub { select undef, undef, undef, $_[1] + 1.5 };

1;
