/**
 * The polyfill that the X.509 library wants in place while it loads. A file of its own: the bundler runs the imports of
 * one file that are ES modules before those that are not, and would load the library first.
 */
import "reflect-metadata";
