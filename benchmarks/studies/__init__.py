"""Single studies: `haaqi-edge bench study NAME`."""
