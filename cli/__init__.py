"""The command line: `haaqi-edge VERB`, one verb a module, each importing its room only when called."""
