"""The time that a drive takes: channels, dies, planes and the queue before them."""
