from typed_exports import *  # noqa: F403  # fixtures that several folders share
