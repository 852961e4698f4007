from typed_exports import *  # noqa: F403
