"""A store in a bucket of an object store, reached by obstore, which is loaded only where a root has one."""
