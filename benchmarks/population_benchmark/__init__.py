"""Networks trained as one program, against the ways of training them one by one."""
