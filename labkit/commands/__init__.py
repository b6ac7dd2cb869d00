"""Entry points other than import: the command line and the %%trial magic."""
