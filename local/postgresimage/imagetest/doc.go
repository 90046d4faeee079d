// Package imagetest tests the PostgreSQL image of the local cluster against the
// contract of the official image, by running containers of it.
package imagetest
