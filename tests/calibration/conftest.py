from tiny_graphs import *  # noqa: F403  # fixtures that several folders share
