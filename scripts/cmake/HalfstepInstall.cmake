# What `cmake --install` puts where: program, library, headers, pkg-config file, CMake package, man page, recipes.
include(CMakePackageConfigHelpers)
install(TARGETS halfstep EXPORT halfstep LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET halfstep_mpi)
  install(TARGETS halfstep_mpi LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(TARGETS halfstep_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
foreach(room core ops optim parallel data models infer)
  install(DIRECTORY ${room}/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/halfstep/${room}
    FILES_MATCHING PATTERN "*.h" PATTERN "ops.list" PATTERN "plan_impl.h" EXCLUDE PATTERN "parallel_impl.h" EXCLUDE PATTERN "transport_impl.h" EXCLUDE)
endforeach()
install(FILES recipes/halfstep.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/halfstep)
install(DIRECTORY recipes/ DESTINATION ${CMAKE_INSTALL_DATADIR}/halfstep/recipes FILES_MATCHING PATTERN "*.yaml" PATTERN "*.txt" PATTERN CMakeLists.txt EXCLUDE PATTERN example EXCLUDE PATTERN program EXCLUDE
  PATTERN train EXCLUDE PATTERN bench EXCLUDE)

configure_file(scripts/cmake/halfstep.pc.in halfstep.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/halfstep.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/halfstep)
install(EXPORT halfstep NAMESPACE halfstep:: FILE halfstep-targets.cmake DESTINATION ${package})
configure_package_config_file(scripts/cmake/halfstep-config.cmake.in halfstep-config.cmake INSTALL_DESTINATION ${package})
write_basic_package_version_file(halfstep-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/halfstep-config.cmake ${CMAKE_BINARY_DIR}/halfstep-config-version.cmake DESTINATION ${package})

add_custom_command(OUTPUT halfstep.1 COMMAND halfstep_program help --man > halfstep.1 DEPENDS halfstep_program VERBATIM)
add_custom_target(halfstep_man ALL DEPENDS halfstep.1)
install(FILES ${CMAKE_BINARY_DIR}/halfstep.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
