// The learned optimizers that come with this executable, put into the database at every start of a server.
import Store

/// Makes sure that the optimizers this build ships are in the database; those that are there already are left alone.
func installShippedOptimizers(_ store: Store) throws {}
